"""Material to evaluate with: rendered pedestrians whose attributes are known, labelled sets, and scores of captions."""
