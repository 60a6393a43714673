"""Reading video, frame by frame and exactly, through PyAV: local files and object-store media alike."""
