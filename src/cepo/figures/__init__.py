"""Figure problems: dependent angle relations in the panels of a picture, a solver, a policy that confuses relations."""
