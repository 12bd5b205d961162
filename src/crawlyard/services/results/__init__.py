"""Results of jobs: their pages, links and errors, and the site that they found."""
