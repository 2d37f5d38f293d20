"""An S3 bucket through which workers without a common disk share files."""
