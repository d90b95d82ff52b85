// Command flux-sync writes what `flux bootstrap` commits: the sync manifest of Flux's own generator.
package main

import (
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/fluxcd/flux2/v2/pkg/manifestgen/sync"
)

func main() {
	options := sync.MakeDefaultOptions()
	url := flag.String("url", "", "the address of the repository")
	branch := flag.String("branch", "main", "the branch")
	path := flag.String("path", "", "the folder that Flux applies")
	root := flag.String("root", ".", "the folder of the repository on this machine")
	flag.Parse()
	options.URL = *url
	options.Branch = *branch
	options.TargetPath = *path
	options.Interval = time.Minute
	manifest, err := sync.Generate(options)
	if err == nil {
		var file string
		file, err = manifest.WriteFile(*root)
		fmt.Println(file)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
