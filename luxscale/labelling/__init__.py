"""Survey and model to catalogue, region by region."""
