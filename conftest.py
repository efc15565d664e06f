"""What tests and the documentation's examples need alike, before either imports anything."""

from foreign_packages import make_torchvision_importable

make_torchvision_importable()

from glands_once import make_glands_once  # noqa: E402

make_glands_once()
