"""One frozen, strict model for each section of the parameters, one module for each section."""
