package summary

// FitTo is Fit to another size.
var FitTo = fit

// Sheds are the names of the steps, in order.
func Sheds() []string {
	var names []string
	for _, s := range sheds {
		names = append(names, s.what)
	}
	return names
}
