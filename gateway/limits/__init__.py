"""Whether a key may make another request, and what its requests used.

Deciding is synchronous and touches memory only; the store is read at the start and written behind. May import
store, messages and settings. Must not know HTTP routes, providers or turns.
"""

from gateway.limits.admission import Admission, Ticket
from gateway.limits.defaults import default_limits
from gateway.limits.ledger import UsageLedger
from gateway.limits.prices import Prices, PricesError

__all__ = ["Admission", "Prices", "PricesError", "Ticket", "UsageLedger", "default_limits"]
