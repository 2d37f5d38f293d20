"""A judge that is not the guide: what else sees in an image which class, and how often it errs."""
