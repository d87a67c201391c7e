"""Every setting, driven by the environment. README.md lists the variables; config/tests/test_docs.py keeps it true."""

import logging
import os
import sys
from base64 import b64encode
from hashlib import sha256
from pathlib import Path

import csp.constants
import django_stubs_ext
import environ
from django.core.exceptions import ImproperlyConfigured
from django.core.management.utils import get_random_secret_key
from environ.fileaware_mapping import FileAwareMapping
from limits import RateLimitItem, parse_many

from config import stores

BASE_DIR = Path(__file__).resolve().parent.parent


class Variables(FileAwareMapping):  # type: ignore[misc]  # django-environ has no types
    """The environment. NAME_FILE names a file that holds the value of NAME, the way containers are given secrets."""

    def __getitem__(self, name: str) -> str:
        """Return a value, without the newline with which editors end a file."""
        return str(super().__getitem__(name)).rstrip("\n")


env = environ.Env()
env.ENVIRON = Variables()
django_stubs_ext.monkeypatch()

# --- Where and how it runs -------------------------------------------------------------------------------------------

ENVIRONMENT = env.str("ENVIRONMENT", default="dev")
if ENVIRONMENT not in {"dev", "prod"}:
    raise ImproperlyConfigured(f"ENVIRONMENT is {ENVIRONMENT!r}; it must be dev or prod.")
IS_PROD = ENVIRONMENT == "prod"
TESTING = env.bool("TESTING", default=False)
DEBUG = env.bool("DEBUG", default=False) and not IS_PROD

# Whether everybody who reaches the service may use it, or only who has logged in.
ACCESS = env.str("ACCESS", default="login" if IS_PROD else "open")
if ACCESS not in {"open", "login"}:
    raise ImproperlyConfigured(f"ACCESS is {ACCESS!r}; it must be open or login.")

DATA_DIR = Path(env.str("DATA_DIR", default=str(BASE_DIR / "var"))).resolve()
DATA_DIR.mkdir(parents=True, exist_ok=True)


def required_in_prod(name: str, value: str) -> str:
    """Return `value`, or refuse to start when production lacks it."""
    if IS_PROD and not value:
        raise ImproperlyConfigured(f"{name} must be set when ENVIRONMENT=prod.")
    return value


def local_secret_key() -> str:
    """Return this installation's own random key, made at its first start: a published default would be everybody's."""
    path = DATA_DIR / "secret_key"
    try:
        with open(path, "x", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(get_random_secret_key())
    except FileExistsError:
        pass
    return path.read_text()


SECRET_KEY = required_in_prod("SECRET_KEY", env.str("SECRET_KEY", default="")) or local_secret_key()
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=[] if IS_PROD else ["localhost", "127.0.0.1", "[::1]"])
required_in_prod("ALLOWED_HOSTS", ",".join(ALLOWED_HOSTS))
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])

# --- The application -------------------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "predictions",  # before those whose commands it replaces: changepassword and qcluster
    "django.contrib.admin.apps.SimpleAdminConfig",  # config.urls discovers: workers need no admin
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django_htmx",
    "rest_framework",
    "django_filters",
    "knox",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "classifier",
    "django_q",
]
MIDDLEWARE = [
    "config.middleware.identify_request",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "config.middleware.MethodKeepingCommonMiddleware",
    "config.limits.RateLimitMiddleware",
    "config.middleware.BodyMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "config.middleware.AccessMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",  # behind those that refuse: it reads bodies
    "config.middleware.StorageAwayMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "config.middleware.explain_405",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "config.metrics.RequestMetricsMiddleware",
]
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "predictions.access.permissions",
            ]
        },
    }
]
AUTHENTICATION_BACKENDS = ["config.limits.PasswordBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "upload"
LOGOUT_REDIRECT_URL = "upload"
# Letters to who has forgotten a password: smtp+tls://user:password@host:587; by default they are written to the log.
vars().update(env.email_url("EMAIL_URL", default="consolemail://"))
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="webmaster@localhost")
USE_TZ = True
TIME_ZONE = env.str("TIME_ZONE", default="UTC")

# --- Database: the rows are the truth --------------------------------------------------------------------------------

# Tests never meet real data: they run on DATABASE_TEST_URL, or on SQLite in a temporary DATA_DIR.
DATABASE_URL = env.str("DATABASE_URL", default=f"sqlite:///{DATA_DIR / 'db.sqlite3'}")
if TESTING:
    DATABASE_URL = env.str("DATABASE_TEST_URL", default="") or f"sqlite:///{DATA_DIR / 'db.sqlite3'}"
DATABASES = {"default": {**env.db_url_config(DATABASE_URL), "CONN_MAX_AGE": 60}}
# Connections to PostgreSQL that the threads of one web process share; by default as many as threads (config/worker.py).
DATABASE_POOL = env.int("DATABASE_POOL", default=24)
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    DATABASES["default"]["OPTIONS"] = {
        # A writer takes its lock at BEGIN and waits for it: no "database is locked" in the middle of a transaction.
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        # WAL: readers and the writer do not block each other. FULL: a 201 survives a power cut.
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA mmap_size=134217728;",
    }
    # In-memory databases lock differently from what users run: tests use a file too.
    DATABASES["default"]["TEST"] = {"NAME": str(DATA_DIR / "test.sqlite3")}
else:
    # A server may have been restarted since the last request.
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
    # Only where config.wsgi has been loaded: workers and commands have one thread, and a pool must not be forked.
    if DATABASE_POOL and "config.wsgi" in sys.modules:
        DATABASES["default"].setdefault("OPTIONS", {})["pool"] = stores.pool(DATABASE_POOL)
        DATABASES["default"]["CONN_MAX_AGE"] = 0  # a request's end gives its connection back to the pool

# Shared by the web processes and the workers: it tells /readyz which workers are alive.
CACHES = {"default": stores.cache(env.cache_url("CACHE_URL", default=f"filecache://{DATA_DIR / 'cache'}"))}

# --- Queue: django-q2 rings a bell, nothing more ----------------------------------------------------------------------

# Classifying processes. One thread each: two processes on two cores beat one process with two threads.
CORES: int = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
WORKERS = env.int("WORKERS", default=CORES)
# Where bells wait for workers.
BROKER_URL = env.str("BROKER_URL", default="orm://")
# A claimed image that has no result after this long is tried again by somebody else. Decoding and classifying takes
# milliseconds, the largest accepted image some seconds.
LEASE_SECONDS = env.int("LEASE_SECONDS", default=30)
Q_CLUSTER = {
    "name": "classification",
    **stores.broker(BROKER_URL),
    "workers": WORKERS,
    # Bells taken in advance; by default the square of WORKERS, unheard by idle workers of other machines.
    "queue_limit": WORKERS,
    # Seconds after which a worker is ended that hangs in an image: before the lease ends, so that no other has it yet.
    # Otherwise a bell is answered for TASK_SECONDS (predictions/tasks.py) and the images claimed by then.
    "timeout": LEASE_SECONDS,
    "retry": LEASE_SECONDS + 30,  # must exceed timeout, or a bell is answered twice
    "ack_failures": True,  # a failed bell is not rung again: the sweep finds what it left
    "poll": 0.05,  # seconds an idle worker sleeps: 28 ms to react on average, for 2 % of a core
    "save_limit": -1,  # keep failures only: saving every success costs most of the throughput
    "catch_up": False,
    "recycle": 100_000,  # a new process loads the model again, and nothing here is known to leak
    "log_level": "WARNING",
}

# --- Uploads and files -----------------------------------------------------------------------------------------------

MAX_UPLOAD_MB = env.int("MAX_UPLOAD_MB", default=20)
MAX_UPLOAD_MEGAPIXELS = env.int("MAX_UPLOAD_MEGAPIXELS", default=50)
# Store originals without EXIF, XMP, comments and the like; refuse formats from which they cannot be taken losslessly.
STRIP_METADATA = env.bool("STRIP_METADATA", default=False)
# What an image may take, with its file, beside the 110 MB of a worker: decoded, 43 megapixels of a PNG in colour do, 25
# of a HEIC, 11 of a WebP.
MAX_DECODED_MB = env.int("MAX_DECODED_MB", default=190)
DATA_UPLOAD_MAX_NUMBER_FILES = 1000  # one selection in the browser's form
DATA_UPLOAD_MAX_NUMBER_FIELDS = 20_000  # photos that somebody chooses in the gallery, scrolled far down
# Of forms and JSON, in bytes: parsed, JSON takes up to twenty times as much.
DATA_UPLOAD_MAX_MEMORY_SIZE = 250_000
# Of one request with files: with a script, the form sends each file by itself, and the API takes one.
MAX_REQUEST_MB = env.int("MAX_REQUEST_MB", default=250)
if MAX_REQUEST_MB <= MAX_UPLOAD_MB:
    raise ImproperlyConfigured("MAX_REQUEST_MB must exceed MAX_UPLOAD_MB: a request is larger than the file in it.")
FILE_UPLOAD_HANDLERS = [
    "predictions.uploads.SizeLimitHandler",
    "django.core.files.uploadhandler.MemoryFileUploadHandler",
    "predictions.uploads.DiskHandler",
]
# Files while they are received; what a killed process leaves there, manage.py check_storage finds.
FILE_UPLOAD_TEMP_DIR = DATA_DIR / "uploads"
FILE_UPLOAD_TEMP_DIR.mkdir(exist_ok=True)
# Photos: a folder, or s3://BUCKET/PREFIX. Keys, roles and the like are boto3's own affair.
MEDIA = stores.media(
    env.str("MEDIA", default=""),
    DATA_DIR / "media",
    region=env.str("AWS_REGION", default="us-east-1"),
    endpoint=env.str("AWS_ENDPOINT_URL_S3", default="") or env.str("AWS_ENDPOINT_URL", default=""),
)
MEDIA_ROOT = MEDIA.root
# An image of a container brings both of its own.
MODELS_DIR = Path(env.str("MODELS_DIR", default=str(DATA_DIR / "models"))).resolve()
# The features behind each answer, 2.6 KB an image: what a classifier of other labels can be taught with.
KEEP_EMBEDDINGS = env.bool("KEEP_EMBEDDINGS", default=True)
STATIC_ROOT = Path(env.str("STATIC_ROOT", default=str(DATA_DIR / "static"))).resolve()
STATIC_URL = "static/"
STATIC_ROOT.mkdir(exist_ok=True)
STATICFILES_DIRS = [BASE_DIR / "static"]
# In dev, straight from the source tree; in prod, collected, compressed and named by content.
WHITENOISE_USE_FINDERS = not IS_PROD
STATICFILES_STORAGE_CLASS = (
    "whitenoise.storage.CompressedManifestStaticFilesStorage"
    if IS_PROD
    else "django.contrib.staticfiles.storage.StaticFilesStorage"
)
STORAGES = {
    "default": MEDIA.storage,
    "staticfiles": {"BACKEND": STATICFILES_STORAGE_CLASS},
}

# --- Limits ----------------------------------------------------------------------------------------------------------


def rates(notation: str) -> list[RateLimitItem]:
    """Return the rates of "10/minute;50/hour"; of an empty text none."""
    try:
        return parse_many(notation) if notation.strip() else []
    except ValueError as error:
        raise ImproperlyConfigured(f"{notation!r} is no rate; one is 10/minute, two are 10/minute;50/hour.") from error


# For each user, token and address. In dev only guessing passwords is limited.
RATES = {
    "uploads": rates(env.str("RATE_UPLOADS", default="1200/minute" if IS_PROD else "")),
    "reads": rates(env.str("RATE_READS", default="3000/minute" if IS_PROD else "")),
    "parts": rates(env.str("RATE_PARTS", default="30000/minute" if IS_PROD else "")),
    "writes": rates(env.str("RATE_WRITES", default="600/minute" if IS_PROD else "")),
    "logins": rates(env.str("RATE_LOGINS", default="10/minute;50/hour")),
}
LIMITS_URL = env.str("LIMITS_URL", default="memory://")
WEB_WORKERS = env.int("WEB_WORKERS", default=2)  # gunicorn's; a check wants to know
# Uploads that may wait before further ones are refused, and MB that the images of one user may have; 0: any number.
QUEUE_LIMIT = env.int("QUEUE_LIMIT", default=10_000)
QUOTA_MB = env.int("QUOTA_MB", default=0)
# Seconds that the first upload in the queue may have waited while /readyz still says ready; 0: any number.
QUEUE_AGE_SECONDS = env.int("QUEUE_AGE_SECONDS", default=600)
# Seconds that a client of /v2 and /classify waits for its answer, at most; less than gunicorn's graceful_timeout.
INFER_SECONDS = env.float("INFER_SECONDS", default=10)

# --- API -------------------------------------------------------------------------------------------------------------

REST_FRAMEWORK = {
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "predictions.authentication.ApiTokenAuthentication",  # first: a 401 then says Bearer
        "rest_framework.authentication.SessionAuthentication",
        "rest_framework.authentication.BasicAuthentication",
    ],
    "DEFAULT_THROTTLE_CLASSES": ["config.limits.UserThrottle"],
    "DEFAULT_PERMISSION_CLASSES": ["predictions.access.Access"],
    "EXCEPTION_HANDLER": "predictions.exceptions.exception_handler",
}
# Its own table, in place of which ours stands, would be made all the same, and refer to the users.
MIGRATION_MODULES = {"knox": None}
KNOX_TOKEN_MODEL = "predictions.ApiToken"  # noqa: S105  (no password)
REST_KNOX = {"AUTH_HEADER_PREFIX": "Bearer", "TOKEN_PREFIX": "ic_"}  # a prefix that secret scanners can be taught
SPECTACULAR_SETTINGS = {
    "TITLE": "Image classification",
    "DESCRIPTION": "Upload photos, read what MobileNetV2 sees in them, correct it.",
    "VERSION": "1.0.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "config.schema.add_limits",
        "config.schema.allow_empty_filters",
    ],
    "SERVE_PERMISSIONS": ["predictions.access.Access"],
    "COMPONENT_SPLIT_REQUEST": True,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_SETTINGS": {"deepLinking": True, "validatorUrl": None},  # would show the schema to another host
    "REDOC_DIST": "SIDECAR",
}

# --- Security --------------------------------------------------------------------------------------------------------


def style_hash(style: str) -> str:
    """Return the source that allows an inline style (CSP level 3, 2.3.1)."""
    return f"'sha256-{b64encode(sha256(style.encode()).digest()).decode()}'"


# Nothing inline, nothing from another host. Pages of the framework that need more say so themselves.
OWN, NOTHING = ["'self'"], ["'none'"]
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": NOTHING,
        **dict.fromkeys(["script-src", "style-src", "connect-src", "font-src", "form-action"], OWN),
        "img-src": [*OWN, "data:", *filter(None, [MEDIA.origin])],
        **dict.fromkeys(["base-uri", "frame-ancestors"], NOTHING),
    }
}
# DRF's templates style by these attributes, and by no others; a hash allows one.
STYLES = [
    "float: right",
    "float: right; margin-right: 10px",
    "width: 350px",
    "border-bottom: 0",
    "border-bottom: 1px solid #e5e5e5",
]
BROWSABLE_API_CSP = {"style-src": ["'unsafe-hashes'", *map(style_hash, STYLES)]}
# ReDoc writes elements for its styles, which it gives the page's nonce, but for one that it has from another library,
# and fills after it is in the page; and the worker in which it searches.
SCROLLBAR = "'sha256-QMIg+bpjm3JdElJ388KYke01izlUW0UoNOeKjpMxdgc='"
REDOC_CSP = {"style-src": [csp.constants.NONCE, style_hash(""), SCROLLBAR], "worker-src": ["blob:"]}
CSRF_FAILURE_VIEW = "config.errors.csrf_failure"
# Only where a proxy sets X-Forwarded-Proto and -For itself: otherwise a client could claim HTTPS, or any address.
TRUST_PROXY = env.bool("TRUST_PROXY", default=False)
# Load balancers, orchestrators and Prometheus ask for these from inside: over plain HTTP, by address instead of name.
PROBES = r"^(ping|livez|readyz|metrics|v2/health/(live|ready))$"
# Browsers hold to it for a year, whatever is said later. It covers names that are not this service's.
HSTS_SUBDOMAINS = env.bool("HSTS_SUBDOMAINS", default=False)
if IS_PROD:
    SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", default=True)
    SECURE_REDIRECT_EXEMPT = [PROBES]
    SECURE_HSTS_SECONDS = 31_536_000
    SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = HSTS_SUBDOMAINS
    if not HSTS_SUBDOMAINS:  # said on purpose, and for a year: other services below this name may have no HTTPS
        SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True
    if TRUST_PROXY:
        SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# --- Logs and metrics ------------------------------------------------------------------------------------------------

LOG_LEVEL = env.str("LOG_LEVEL", default="INFO")
# Under this name the workers tell CloudWatch, by their log, how many images wait and how long; empty: they do not.
CLOUDWATCH_NAMESPACE = env.str("CLOUDWATCH_NAMESPACE", default="")
LOG_FORMAT = env.str("LOG_FORMAT", default="json" if IS_PROD else "text")
if LOG_FORMAT not in {"text", "json"}:
    raise ImproperlyConfigured(f"LOG_FORMAT is {LOG_FORMAT!r}; it must be text or json.")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "text": {
            "()": "predictions.logs.TextFormatter",
            "format": "{asctime} {levelname} {name}{ids}: {message}",
            "style": "{",
        },
        "json": {
            "()": "pythonjsonlogger.json.JsonFormatter",
            "format": "{levelname}{name}{message}",
            "style": "{",
            "timestamp": "time",  # ISO 8601, UTC
            "rename_fields": {"levelname": "level", "name": "logger", "exc_info": "traceback"},
            # Django gives the request to its lines; whatever that would show of itself is not for a log.
            "reserved_attrs": [*vars(logging.makeLogRecord({})), "message", "asctime", "ids", "request"],
        },
    },
    "handlers": {"console": {"class": "predictions.logs.Handler", "formatter": LOG_FORMAT}},
    "root": {"handlers": ["console"], "level": "WARNING"},
    "loggers": {
        "predictions": {"level": LOG_LEVEL},
        "classifier": {"level": LOG_LEVEL},
        "django-q": {"level": "WARNING"},
        "gunicorn.error": {"handlers": ["console"], "level": "INFO", "propagate": False},
        # A line for each request: for those who collect logs.
        "gunicorn.access": {
            "handlers": ["console"],
            "level": "INFO" if LOG_FORMAT == "json" else "WARNING",
            "propagate": False,
        },
    },
}
# What Prometheus shows as Authorization: Bearer; without one, it may read while access is open, and then all may.
METRICS_TOKEN = env.str("METRICS_TOKEN", default="")
METRICS_PORT = env.int("METRICS_PORT", default=0)  # on HOST, of workers without a web process beside them; 0: none
HOST = env.str("HOST", default="127.0.0.1")
PROMETHEUS_LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, float("inf"))
