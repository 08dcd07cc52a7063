"""What a socket brings, taken by marks and by counts."""


class Reader:
    def __init__(self, s):
        self.s, self.rest = s, b""

    def more(self):
        piece = self.s.recv(65536)
        if not piece:
            raise EOFError
        self.rest += piece

    def until(self, mark):
        while mark not in self.rest:
            self.more()
        text, self.rest = self.rest.split(mark, 1)
        return text

    def count(self, n):
        while len(self.rest) < n:
            self.more()
        data, self.rest = self.rest[:n], self.rest[n:]
        return data
