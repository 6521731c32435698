"""The engine that runs any experiment: plans, pieces, costs, results and pages."""
