"""Writing sentences: from the values that are stated of a person to English captions."""
