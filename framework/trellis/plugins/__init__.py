"""The plugin boundary: finding plugins, knowing what they offer, building components.

discovery   finds installed plugins and local files; one that breaks becomes a `PluginFailure`, the rest load
lookup      the registry: what was found, and the look-up of components by name
settings    which plugins the user has disabled
"""

from trellis.plugins.discovery import build, discover, installed_entry_points, registry
from trellis.plugins.lookup import Registry
from trellis.plugins.records import Phase, PluginFailure, PluginInfo, RegisteredComponent, Status

__all__ = [
    "Phase",
    "PluginFailure",
    "PluginInfo",
    "RegisteredComponent",
    "Registry",
    "Status",
    "build",
    "discover",
    "installed_entry_points",
    "registry",
]
