"""The harness: the promises of EdgeScale put to the test, in simulation and under real faults."""
