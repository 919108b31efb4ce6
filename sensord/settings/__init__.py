"""Every setting, in frozen groups; the only reader of the environment.

`cli` loads it and hands each room its own group.
"""

from sensord.settings.groups import (
    DaemonSettings,
    FleetSettings,
    HttpSettings,
    KafkaSettings,
    LimitSettings,
    LogSettings,
    MappingSettings,
    ModelSettings,
    NotifySettings,
    Settings,
    SinkSettings,
    StoreSettings,
    TrainerSettings,
    WebSettings,
)
from sensord.settings.sources import DEFAULT, Loaded, load, load_with_origins, supervisor_socket, variable

__all__ = [
    "DEFAULT",
    "DaemonSettings",
    "FleetSettings",
    "HttpSettings",
    "KafkaSettings",
    "LimitSettings",
    "Loaded",
    "LogSettings",
    "MappingSettings",
    "ModelSettings",
    "NotifySettings",
    "Settings",
    "SinkSettings",
    "StoreSettings",
    "TrainerSettings",
    "WebSettings",
    "load",
    "load_with_origins",
    "supervisor_socket",
    "variable",
]
