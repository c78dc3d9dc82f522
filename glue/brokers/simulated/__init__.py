"""A simulated broker: a real server with OANDA's shapes, books of its own, and faults on demand."""

from glue.brokers.simulated.account import SimulationError
from glue.brokers.simulated.books import Books
from glue.brokers.simulated.control import Control
from glue.brokers.simulated.server import TOKEN, SimulatedBroker

__all__ = ["TOKEN", "Books", "Control", "SimulatedBroker", "SimulationError"]
