// The AWS SDK for Go as most programs use it; a round of calls for each line of input, see ../python/rounds.py.
package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

func main() {
	bucket, key := os.Args[1], os.Args[2]
	var options []func(*config.LoadOptions) error
	if os.Getenv("AWS_REGION") == "" {
		// Go asks the metadata service for the region if it is told to.
		options = append(options, config.WithEC2IMDSRegion())
	}
	settings, failed := config.LoadDefaultConfig(context.Background(), options...)
	objects, tokens := s3.NewFromConfig(settings), sts.NewFromConfig(settings)

	input := bufio.NewScanner(os.Stdin)
	for input.Scan() {
		err := failed
		if err == nil {
			err = round(objects, tokens, bucket, key)
		}
		if err == nil {
			fmt.Println("ok")
		} else {
			fmt.Println("error:", strings.Join(strings.Fields(err.Error()), " "))
		}
	}
}

func round(objects *s3.Client, tokens *sts.Client, bucket, key string) error {
	ctx := context.Background()
	body := strings.NewReader("go")
	if _, err := objects.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: body}); err != nil {
		return err
	}
	got, err := objects.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return err
	}
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	if err != nil {
		return err
	}
	if string(text) != "go" {
		return fmt.Errorf("got %q", text)
	}
	if _, err := objects.ListBuckets(ctx, &s3.ListBucketsInput{}); err != nil {
		return err
	}
	_, err = tokens.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	return err
}
