"""Starting trainings on a cluster; nothing else knows about clusters."""
