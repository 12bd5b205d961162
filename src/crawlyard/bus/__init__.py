"""What may be lost: live progress and its fan-out."""
