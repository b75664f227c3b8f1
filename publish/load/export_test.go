package load

// Clean is what a body is before it is read.
var Clean = clean

// Parse reads one message.
func Parse(origin Origin, data []byte) (Row, error) {
	p, err := newParser()
	if err != nil {
		return Row{}, err
	}
	return p.parse(origin, data)
}
