"""Workers: the process that runs jobs, and its reports."""
