"""Generated from proto/edgescale/v1; run `nox -s proto` to make it anew."""
