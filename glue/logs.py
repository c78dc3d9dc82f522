"""One way to log: structlog, to standard error, as console lines or JSON."""

import logging
import sys

import structlog


def configure(form: str = "console") -> None:
    """Set up logging for a process; `form` is `console` or `json`.

    Warnings and errors of libraries are written in the same form, their name as `logger`.
    """
    render: structlog.typing.Processor
    if form == "json":
        render = structlog.processors.JSONRenderer(default=str)
    else:
        render = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0)
    stamp: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    write: list[structlog.typing.Processor] = [structlog.processors.format_exc_info, render]
    structlog.configure(
        processors=[*stamp, *write],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    libraries = logging.StreamHandler(sys.stderr)
    libraries.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *write],
            foreign_pre_chain=[*stamp, structlog.stdlib.add_logger_name],
        )
    )
    logging.basicConfig(handlers=[libraries])


def get(process: str) -> structlog.typing.FilteringBoundLogger:
    """The logger of a process, its name bound."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(process=process)
    return logger
