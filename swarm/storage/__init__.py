"""What is kept on disk while a process runs: SQLite files, their writers, and files that are whole or not there."""
