"""Drawn pairs that differ in one attribute: what tells their sides apart, and what uses it."""
