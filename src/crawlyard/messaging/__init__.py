"""Messages that may be lost: live progress, and wake-ups of workers."""
