"""How a jpg/json tree is surveyed, read by many processes, and committed by one."""
