"""Reports: HTML, charts, sheets of images, tables."""
