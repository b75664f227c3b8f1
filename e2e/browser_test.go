package e2e_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/legato-calls/legato/e2e/legatotest"
)

var screenshots = flag.String("screenshots", "", "directory for pictures of the console's pages")

// browser is Chromium with one tab.
type browser struct {
	t   *testing.T
	ctx context.Context //nolint:containedctx // chromedp keeps the browser in it

	mu sync.Mutex
	// complaints are what the browser says against a page: exceptions, and what the page's policy forbids.
	complaints []string
}

// newBrowser starts Debian's Chromium, or skips the test where there is none.
func newBrowser(t *testing.T) *browser {
	t.Helper()
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		t.Skip("there is no Chromium to look at the console with: apt-get install chromium")
	}
	legatotest.Busy(t)
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox)
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	b := &browser{t: t, ctx: ctx}
	// The browser lives as long as the context of the first step.
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	b.do(chromedp.EmulateViewport(1280, 900))
	if err := chromedp.Listen(ctx, func(event any) {
		b.mu.Lock()
		defer b.mu.Unlock()
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			b.complaints = append(b.complaints, e.ExceptionDetails.Text)
		case *log.EventEntryAdded:
			b.complaints = append(b.complaints, e.Entry.Text)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Call(ctx, log.Enable, cdp.Empty{}); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *browser) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, legatotest.Patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.t.Fatal(err)
	}
}

func (b *browser) open(address string) { b.t.Helper(); b.do(chromedp.Navigate(address)) }

func (b *browser) click(selector string) {
	b.t.Helper()
	b.do(chromedp.Click(chromedp.CSS(selector)))
}

// value is what a JavaScript expression is in the page.
func value[T any](b *browser, expression string) T {
	b.t.Helper()
	v, err := try[T](b, expression)
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// try is value for a page that may be about to become another one, which fails.
func try[T any](b *browser, expression string) (T, error) {
	ctx, cancel := context.WithTimeout(b.ctx, legatotest.Patience)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// shows waits until the page shows a text.
func (b *browser) shows(text string) {
	b.t.Helper()
	legatotest.Eventually(b.t, "the page shows "+text, func() error {
		is, err := try[string](b, "document.body ? document.body.innerText : ''")
		if err == nil && !strings.Contains(is, text) {
			err = fmt.Errorf("%.600s", is)
		}
		return err
	})
}

// picture keeps what the page looks like, at both widths, light and dark, where that is asked for.
func (b *browser) picture(name string) {
	b.t.Helper()
	if *screenshots == "" {
		return
	}
	for _, width := range []int64{1280, 390} {
		for _, scheme := range []string{"light", "dark"} {
			b.do(chromedp.EmulateViewport(width, 900))
			feature := &emulation.MediaFeature{Name: "prefers-color-scheme", Value: scheme}
			if _, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{feature}}); err != nil {
				b.t.Fatal(err)
			}
			data, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
			if err == nil {
				err = os.WriteFile(filepath.Join(*screenshots, fmt.Sprintf("%s-%d-%s.png", name, width, scheme)), data, 0o600)
			}
			if err != nil {
				b.t.Fatal(err)
			}
		}
	}
	b.do(chromedp.EmulateViewport(1280, 900))
}

// clean fails when the browser has complained of the console's pages.
func (b *browser) clean() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.complaints {
		if !strings.Contains(c, "status of 4") { // the test asks for what is refused
			b.t.Errorf("the browser says: %s", c)
		}
	}
}

// timed loads a page some times and logs how long that took: the quickest, and that in the middle. On a machine that does
// nothing else they are alike. The quickest must not be beyond all measure.
func (b *browser) timed(what, address string, most time.Duration) {
	b.t.Helper()
	b.open(address) // what is cached is
	var first, whole []float64
	for range 7 {
		b.open(address)
		times := value[[]float64](b, `(() => { const n = performance.getEntriesByType("navigation")[0]; return [n.responseStart - n.requestStart, n.loadEventEnd - n.startTime]; })()`)
		first, whole = append(first, times[0]), append(whole, times[1])
	}
	slices.Sort(first)
	slices.Sort(whole)
	b.t.Logf("%s: first byte after %.0f ms (median %.0f), whole after %.0f ms (median %.0f); %d elements, %d bytes", what, first[0], first[3], whole[0], whole[3],
		value[int](b, "document.querySelectorAll('*').length"), value[int](b, `performance.getEntriesByType("navigation")[0].decodedBodySize`))
	if quickest := time.Duration(whole[0] * float64(time.Millisecond)); quickest > most {
		b.t.Errorf("%s took %v", what, quickest)
	}
}

// axeCore is the source of axe, or skips the test where npm cannot install it.
func axeCore(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	legatotest.InstallNode(t, dir, "axe-core@4.14.1")
	source, err := os.ReadFile(filepath.Join(dir, "node_modules", "axe-core", "axe.min.js"))
	if err != nil {
		t.Fatal(err)
	}
	return string(source)
}
