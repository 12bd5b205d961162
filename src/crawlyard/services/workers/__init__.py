"""Workers: the process that runs jobs, and what others see of it."""
