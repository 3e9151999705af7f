"""opentelemetry-sdk with its OTLP/HTTP exporter, with default settings: each event is a log record."""

from importlib import import_module

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor


class Adapter:
    """One provider for the whole program."""

    actor = ""

    def __init__(self, url: str, key: str) -> None:
        self._url = url
        self._create()

    def _create(self, **_: object) -> None:
        self._provider = LoggerProvider()
        exporter = OTLPLogExporter(endpoint=f"{self._url}/v1/logs")
        self._provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
        self._logger = self._provider.get_logger("program")

    def emit(self, marker: str, text: str = "") -> bool:
        """Queue a log record. It returns nothing."""
        record = LogRecord(severity_number=SeverityNumber.INFO, body=marker, attributes={"text": text})
        self._logger.emit(record)
        return True

    def flush(self, timeout_s: float) -> None:
        """Wait until all was tried."""
        self._provider.force_flush(int(timeout_s * 1_000))

    def celery(self) -> None:
        """As its documentation says for Celery: the provider is made in each worker process."""
        import_module("celery.signals").worker_process_init.connect(self._create, weak=False)
