"""What holds at one site: the profile that commissioning writes, and what it is measured on."""

from fasdk.site.profile import Commissioned, SiteProfile

__all__ = ["Commissioned", "SiteProfile"]
