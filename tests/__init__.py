"""Tests of Gozon: by service and layer on real servers, journeys/ through the edge."""
