"""The security suite: what somebody who means harm would try, at the edge and at each service itself."""
