"""YOLO models, loaded by ultralytics: detection, pose and segmentation weights."""
