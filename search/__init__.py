"""The search: windows, background fit, local and global significance."""
