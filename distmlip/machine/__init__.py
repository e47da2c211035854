"""What the machine and the job have to give: devices, memory, cores."""
