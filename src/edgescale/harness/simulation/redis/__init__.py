"""A Redis server in memory: the commands that EdgeScale uses, its real scripts, and every way it may fail.

`tests/integration/test_redis_model_differential.py` proves that it answers as Redis and Valkey do.
"""

from edgescale.harness.simulation.redis.flavour import REDIS_7_0, VALKEY_9, Flavour
from edgescale.harness.simulation.redis.model import RedisModel
from edgescale.harness.simulation.redis.session import Session

__all__ = ["REDIS_7_0", "VALKEY_9", "Flavour", "RedisModel", "Session"]
