"""Results as facts: values read, converted, judged against their range, estimated. A part of stage 2."""
