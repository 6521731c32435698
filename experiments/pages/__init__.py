"""The parts of reports: HTML pages, charts, sheets of images, tables and statistics."""
