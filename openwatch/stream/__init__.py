"""Events for whoever watches: appended with what they tell, notified, kept for an hour."""
