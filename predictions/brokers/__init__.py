"""Redis and SQS as places where bells wait, for BROKER_URL: django-q2's own, where they do not fit, are replaced.

Each is a module that django-q2 imports when it is to be used: the default needs neither's library.
"""

CONNECT_SECONDS = 2  # an upload rings before it is answered: a broker that is away must not keep it long
ANSWER_SECONDS = 5
