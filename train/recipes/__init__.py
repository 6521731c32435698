"""What a training adds to flip, crop and labels: mixing, soft targets, averages, synthesis."""
