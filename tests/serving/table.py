"""The table: requests, and what TF Serving answers to them over REST and over gRPC.

Source: what it documents in g3doc/api_rest.md, and where that is silent its code, as the files with
the rows say; paths there are below github.com/tensorflow/serving/blob/master/tensorflow_serving.
"""

from .examples import EXAMPLES
from .predictions import PREDICTIONS
from .refusals import GRPC_ONLY, REFUSALS

TABLE = [*PREDICTIONS, *REFUSALS, *EXAMPLES]

__all__ = ["GRPC_ONLY", "TABLE"]
