"""A Celery application with one task, which runs the agent. Its broker is a folder, so that nothing else is needed.

Start a worker with `celery -A tasks worker`.
"""

import os
from pathlib import Path

from celery import Celery
from support_agent import log, support_agent

from whence.integrations.celery import instrument
from whence.integrations.langchain import WhenceCallbackHandler

queue = Path(os.environ["EXAMPLE_QUEUE"])
queue.mkdir(exist_ok=True)
folders = {"data_folder_in": str(queue), "data_folder_out": str(queue), "control_folder": str(queue / "control")}

app = Celery("tasks", broker="filesystem://")
app.conf.update(broker_transport_options=folders, broker_connection_retry_on_startup=True, task_ignore_result=True)

instrument(log, events=True)  # tasks inherit the cause from their sender, and are recorded


@app.task
def answer(message: str) -> None:
    """Let the agent answer a message of a customer."""
    handler = WhenceCallbackHandler(log, actor=("agent", "support"))
    support_agent().invoke({"messages": [("user", message)]}, {"callbacks": [handler]})
