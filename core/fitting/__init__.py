"""The fit: residuals, the solver, stages."""
