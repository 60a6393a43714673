"""Track: joins the detections of one person in one video to a tracklet."""
