"""The parts of reports: HTML pages, charts, strips of images, tables and statistics."""
