"""The stages as the runner sees them, in the order of the flow."""
