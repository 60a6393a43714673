"""Track: detections of one person in one video are joined to a tracklet."""
