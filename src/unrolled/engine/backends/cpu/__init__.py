"""The CPU back-end: a loop program becomes C++, is compiled by the system's compiler at first use, and runs."""
